"""A chat that several people and agents share: `useDurableChat` on a durable session."""
