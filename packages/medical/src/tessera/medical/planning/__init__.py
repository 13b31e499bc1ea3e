"""Settings that follow from the data: fingerprint, plan, audit and measured memory."""
