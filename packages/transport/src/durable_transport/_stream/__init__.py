"""The client of the Durable Streams protocol, without its input and output."""
