"""Photos and text into what models take, the same in training and in use."""
