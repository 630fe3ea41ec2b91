//go:build manual

package main

import "symbiosis-connect-acl/internal/manual"

// A build with this tag prints its manual page for --help; see the Makefile.
func init() { manual.Install() }
