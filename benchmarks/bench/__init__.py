"""What the project promises about speed, measured beside a floor or a peer in the same run."""
