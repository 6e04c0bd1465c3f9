module github.com/signalstack/signalstack/test/clients/go

go 1.26.0
