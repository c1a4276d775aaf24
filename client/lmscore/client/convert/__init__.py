"""Between plain values and messages; nothing else in the client knows both."""
