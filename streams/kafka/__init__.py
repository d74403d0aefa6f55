"""The host on Apache Kafka: local cluster, topics and schemas, runners."""
