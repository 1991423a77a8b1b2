"""A chat page on `useChat` of TanStack AI whose answers survive anything."""
