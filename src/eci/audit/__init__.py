"""What is wrong with mined rows, negative by negative, and how to mend them."""
