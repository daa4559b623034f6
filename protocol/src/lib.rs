//! Messages and step machines of the secure sum, charter and QUIC glue.
