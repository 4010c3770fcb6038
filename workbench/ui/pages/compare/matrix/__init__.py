"""The matrix of variants by figures, and the cards below it."""
