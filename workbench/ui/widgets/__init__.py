"""Controls that pages share. They show what they are given and hold no rules of the domain."""
