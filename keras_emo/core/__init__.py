"""What the network sees: labels, specs, decoding, MFCC and face crops (numpy, cv2, av, soxr)."""
