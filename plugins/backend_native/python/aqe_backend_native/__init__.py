"""The native backend of aqe: engines written in Rust, offered to aqe-core as the plugin ``native``."""
