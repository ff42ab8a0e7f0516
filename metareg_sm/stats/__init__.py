"""Statistics on the kernel's records: numpy and scipy, arrays in and frozen records out."""
