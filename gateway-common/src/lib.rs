#![no_std]
#![doc = "x"]
