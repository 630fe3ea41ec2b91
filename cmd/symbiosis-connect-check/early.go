package main

/*
#include <stdlib.h>
#include "early.h"
*/
import "C"

import "unsafe"

// earlyKey is the key as early.c makes it, for the test that compares it with
// package address. "" means that it leaves the address to that package.
func earlyKey(addr string) string {
	in := C.CString(addr)
	defer C.free(unsafe.Pointer(in))
	var key [32]C.char
	if C.early_key(in, &key[0]) == 0 {
		return ""
	}
	return C.GoString(&key[0])
}
