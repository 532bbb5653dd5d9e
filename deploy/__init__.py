"""Files for those who run the service, and programs that try them."""
