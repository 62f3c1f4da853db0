// Testlog reads what `go test -json` writes, prints what `go test` would have printed, and
// keeps the verdict on every test in a file, one JSON object a line. With -v it prints all.
//
//	go test -json ./... | testlog [-v] FILE
package main
