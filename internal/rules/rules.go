// Package rules is the vocabulary of the connect rules: the names of their
// macros, the form of each value, the states and the ports. What the snippets
// say in Exim's words stands here once in Go.
package rules

// Marker is the macro that the package's marker file defines: where it is
// among the macros in force, the rules are.
const Marker = "SYMBIOSIS_CONNECT_ACL"

// Ports are the ports on which the platform's Exim takes mail: 25 from other
// servers, 465 and 587 from users.
var Ports = [...]int{25, 465, 587}
