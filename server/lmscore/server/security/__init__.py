"""Who may call, over what, and how much: TLS, API keys and quotas."""
