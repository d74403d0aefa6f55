"""The demo: real homes traded for a week, told on one screen and in a report. It adds `flexlog demo`."""
