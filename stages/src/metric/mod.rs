//! Scores: how well a segmentation agrees with a reference. Pure functions.
