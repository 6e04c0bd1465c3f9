// Package demo shows the product at work: it starts everything in one process,
// sends real GitHub webhooks, signed as GitHub signs, to a source, receives the
// webhooks that come of them itself and verifies each one with the official Standard
// Webhooks library.
//
// It is a client like any other: what it does to the product goes over HTTP. Its
// error says that a delivery was missing or wrong.
//
// The events in github-webhooks.json are from the npm package
// @octokit/webhooks-examples 7.6.1, Copyright (c) 2018 Gregor Martynus and
// contributors, under the MIT licence.
package demo
