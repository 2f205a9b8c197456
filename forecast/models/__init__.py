"""The network: described once as plain data (`description`), built from that by Keras (`keras_builder`) and trained (`fitting`)."""
