"""The Kafka host's speed, side by side with a plain consumer and with what a user would pick instead."""
