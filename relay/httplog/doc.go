// Package httplog sorts what net/http's server logs: what its clients cause from what is wrong
// here. It knows net/http's words, and nothing of what is served.
package httplog
