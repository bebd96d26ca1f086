.PHONY: help run test generate lint bench peers scale crash soak cluster

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run everything on this machine: http://127.0.0.1:8080
	go run ./functions/harness

test: ## run all tests; MYSQL_DSN and KAFKA_BROKERS point them at real servers
	go test ./...

generate: ## generate the description of the events, the Avro schemas, and the Go code of the SQL queries (the first time builds sqlc: some minutes)
	go test ./events/avro -run Generated -update
	go run ./functions/harness asyncapi --write
	go tool -modfile=.ci/tools/go.mod sqlc generate

lint: ## vet, and golangci-lint with the rules of .golangci.yml (the first time builds it: a minute)
	go vet ./...
	go tool -modfile=.ci/tools/go.mod golangci-lint run ./...

bench: ## measure encoding, and one order at a time from POST to CONFIRMED
	go test -run '^$$' -bench . -benchmem ./events ./functions/harness

ROUNDS = 3
peers: ## measure DBOS, Restate, Debezium and watermill beside this project, ROUNDS times, as root; PEERS names the folder of their programs
	ROUNDS=$(ROUNDS) .ci/peers

scale: ## measure 1, 2 and 4 harnesses on one MySQL, on a MySQL for each schema and in cells, each with a share of a core, ROUNDS times, as root
	ROUNDS=$(ROUNDS) .ci/scale

RUNS = 1
crash: ## kill the harness at every boundary, and stop, freeze and kill its servers and the payment gateway, RUNS times, under load; count what was lost
	CRASH_ALL=1 CRASH_SERVERS=1 CRASH_AWAY=30s CRASH_RUNS=$(RUNS) go test -count=1 -timeout 4h -parallel 4 -v \
	  -run 'ByACrash|ServerFaults|ComeAndGo|FaultsOfThePaymentGateway|LosesItsLedger' ./functions/harness

SOAK = 30m
soak: ## half of the full load among slow clients for SOAK: memory, goroutines and descriptors must not grow
	SOAK=$(SOAK) go test -count=1 -timeout 24h -run TestSoak -v ./functions/harness

cluster: ## start Kubernetes and Knative here, as root, and break the functions there (builds it first: a quarter of an hour)
	.ci/cluster/run $(TESTS)
