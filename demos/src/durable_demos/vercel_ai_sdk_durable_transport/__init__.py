"""A chat page on `useChat` of the Vercel AI SDK whose answers survive anything."""
