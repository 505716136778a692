"""Frames and samples become network inputs: faces, crops, MFCC."""
