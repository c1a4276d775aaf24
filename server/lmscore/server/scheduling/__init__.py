"""Who works when: queues that are fair and bounded, and the threads behind them."""
