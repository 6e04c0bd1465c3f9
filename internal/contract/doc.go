// Package contract holds answers of the API against its own OpenAPI document.
//
// Tests serve through Handler: it fails the test when an answer is not what the
// document promises, and when the server accepts a request that the document
// forbids. The document is validated by a library that did not make it.
package contract
