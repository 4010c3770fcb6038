"""Charts that pages share: lines with markers over the levels of a load, and markers that stand for a variant."""
