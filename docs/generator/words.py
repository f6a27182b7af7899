"""What the columns and status words mean; which there are is read from the code."""

from __future__ import annotations

from collections.abc import Mapping

#: Columns of the predictions table.
COLUMNS: Mapping[str, str] = {
    "image": "path of the input as found or given; never empty",
    "probability_malignant": "sum over the model's malignant classes; empty when its labels declare none",
    "predicted_label": "index of the predicted class in the order of the model's labels",
    "predicted_class": "name of that class: by the rule of the model or of the threshold file, else the most probable; "
    "of two classes by the threshold",
    "threshold": "threshold in use",
    "flagged": "1 when `probability_malignant` is at least the threshold, both as float32",
    "p_<code>": "probability of each class, one column for each code",
    "top<i>_class": "with `--top-k`: code of the i-th most probable class",
    "top<i>_name": "with `--top-k`: its name",
    "top<i>_probability": "with `--top-k`: its probability",
    "label_set": "with `--conformal`: codes of the conformal set, joined by a vertical bar",
    "label_set_size": "with `--conformal`: number of codes in the set",
    "referred": "with `--refer-below`: 1 when the most probable class stays below the stated probability",
    "disagreement": "with several models: how far they differ on this image",
    "tta_spread": "with `--tta`: how far the views of this image differ",
    "gate": "unless `--gate off`, where the model has a gate: `ok`, `marked` or `unfit`",
    "gate_reasons": "with the gate: why, as words",
    "p_familiar": "with the gate: how familiar the picture is, among those that the model was trained on",
    "p_image_malignant": "with `--metadata`: `probability_malignant` from the picture alone",
    "metadata_shift": "with `--metadata`: how far age, sex and site move the log-odds",
    "near_threshold": "1 when the error of a reduced precision, or of a JPEG that was decoded down, could change "
    "`flagged`; there where that error was measured for the model",
    "status": "`ok`, or a word of the [status words](status.md)",
    "error": "a sentence; empty when ok",
}

#: Measures of a picture in the table of `gate check`.
GATE: Mapping[str, str] = {
    "side": "shorter side of the picture, in pixels",
    "spread": "standard deviation of the colour that varies most, in levels of 0 to 255",
    "chroma": "difference of the largest and the smallest of red, green and blue that 99 % of the pixels do not exceed",
    "light": "median of green",
    "dark_share": "share of pixels that are nearly black",
    "bright_share": "share of pixels that are nearly white",
    "focus": "fine against coarse detail, where there is detail; a third or less is out of focus",
    "uneven": "fall of brightness from one side to the other, as a share of the mean",
    "corners": "share of the picture that is black and lies in its corners",
    "ink": "share of pixels that are blue, violet or green",
    "hair": "length of long, thin, dark lines, in units of the shorter side",
    "ruler": "number of parallel ticks in the longest even row",
    "bubbles": "votes for the strongest circle of thin, bright lines, in units of its circumference",
    "text": "number of signs in the fullest line of signs of one height",
}

#: Columns of `maps.csv`.
MAPS: Mapping[str, str] = {
    "image": "path of the input as found or given",
    "target": "what is explained: `malignant`, a code, or two codes with a hyphen",
    "p": "probability of the target",
    "log_odds": "value that the map explains",
    "predicted_class": "name of the predicted class",
    "method": "method of the map",
    "layer": "layer of Grad-CAM; empty for other methods",
    "direction": "`raises` or `lowers`: which side of the map the overlay shows",
    "maximum": "largest shown value",
    "mass": "integral of the shown values over the picture, whose area counts as 1",
    "centre_x": "centre of what is shown, in pixels of the upright original, from the left",
    "centre_y": "the same, from the top",
    "seen": "share of the picture that the model saw",
    "inside_mask": "share of the mass inside the lesion's mask; empty without one",
    "image_log_odds": "log-odds of malignancy from the picture alone, with `--metadata`; empty without it",
    "age_log_odds": "what the age adds to them; exactly 0 where it is blank",
    "sex_log_odds": "what the sex adds to them",
    "site_log_odds": "what the site adds to them",
    "fused_log_odds": "their sum: the log-odds of malignancy of picture and entries",
    "map": "file of the raw map in the folder",
    "overlay": "file of the overlay in the folder",
    "status": "`ok`, or a word of the [status words](status.md)",
    "error": "a sentence; empty when ok",
}

#: Word of the column `status`: what it means, and what to do.
STATUS: Mapping[str, tuple[str, str]] = {
    "ok": ("The image was classified.", "Nothing."),
    "missing": ("There is no file of that name, or the cell is empty.", "Check the path or the list."),
    "unreadable": (
        "The file cannot be read: permissions, a device error, or damaged content.",
        "Open it in an image viewer; copy it again from its source.",
    ),
    "empty": ("The file has 0 bytes.", "Copy it again from its source."),
    "not_an_image": (
        "The content is not an image in a format that can be read, whatever its ending says.",
        "Convert it to JPEG or PNG.",
    ),
    "truncated": (
        "The file ends before the image does; a network would see grey.",
        "Copy it again from its source.",
    ),
    "lfs_pointer": (
        "The file is a pointer of Git LFS, not the image itself.",
        "Fetch the images with `git lfs pull`.",
    ),
    "too_large": ("More pixels than are decoded, or than memory holds.", "Make it smaller before."),
    "zero_size": ("Its width or height is 0.", "Export it again."),
    "unsupported": (
        "A colour mode, bit depth or shape without a declared conversion to RGB.",
        "Convert it to 8-bit RGB; the sentence names what was found.",
    ),
    "enhancement_failed": (
        "A step of enhancement that the model declares cannot be applied to this image.",
        "Leave the image out, or classify it with a model without that step.",
    ),
    "not_finite": (
        "The network gave a number that is none.",
        "Use float32 (`--precision fp32`); if it stays, the weights are damaged.",
    ),
    "no_pixels": ("A DICOM file without pixel data, such as a report.", "Leave it out."),
    "multi_frame": ("A DICOM file with several frames, none of which was chosen.", "Name the frame."),
    "codec_missing": (
        "A DICOM file in a compression for which no decoder is installed.",
        "Install the package that the sentence names.",
    ),
    "not_dermoscopy": (
        "A DICOM file of another kind of picture, such as a grey one.",
        "Leave it out; a model for dermoscopy has no answer for it.",
    ),
    "gated": ("The gate found the image unfit, and gives no probability for it.", "See `gate_reasons`."),
    "no_map": (
        "The map is zero, constant or not finite, so it shows nothing.",
        "Try another method or target.",
    ),
    "worker_died": (
        "The process that decoded the file ended, as it does when a decoder crashes.",
        "Treat the file as hostile or damaged; the other rows are not affected.",
    ),
}
