"""A chat in the terminal, on a durable session that other terminals share."""
