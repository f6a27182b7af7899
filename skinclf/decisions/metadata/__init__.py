"""What age, sex and site add to a model, fitted on labelled lesions and held-out predictions."""
