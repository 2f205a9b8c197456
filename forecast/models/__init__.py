"""The network: described once as plain data (`description`), built by Keras (`keras_builder`) and trained (`fitting`)."""
