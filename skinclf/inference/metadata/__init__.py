"""Age, sex and site beside the images: joined by name, and the contract of the predictions that they give."""
