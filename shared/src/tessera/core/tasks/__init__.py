"""What is learnt: one step serves training, validation and test."""
