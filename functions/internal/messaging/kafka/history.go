package kafka

import (
	"errors"
	"fmt"
	"strings"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/knative"
)

// HistoryClient returns the settings by which the clients of a connector's schema history connect to the brokers, as KAFKA_TLS,
// KAFKA_TLS_CA_FILE and KAFKA_SASL_MECHANISM say: those clients do not log in as Kafka Connect's own do. It is empty for brokers without a
// login and TLS. Kafka Connect's environment has what they refer to: CDC_KAFKA_LOGIN is what HistoryLogin returns, and CDC_KAFKA_CA
// the content of KAFKA_TLS_CA_FILE.
func HistoryClient(config map[string]string) (map[string]string, error) {
	encryption, err := readTLS(config)
	if err != nil {
		return nil, err
	}
	settings := map[string]string{}
	protocol := "PLAINTEXT"
	if encryption != nil {
		protocol = "SSL"
		if config["KAFKA_TLS_CA_FILE"] != "" {
			settings["ssl.truststore.type"], settings["ssl.truststore.certificates"] = "PEM", "${env:CDC_KAFKA_CA}"
		}
	}
	if mechanism := config["KAFKA_SASL_MECHANISM"]; mechanism != "" {
		protocol = "SASL_" + protocol
		settings["sasl.mechanism"], settings["sasl.jaas.config"] = mechanism, "${env:CDC_KAFKA_LOGIN}"
	}
	if protocol != "PLAINTEXT" {
		settings["security.protocol"] = protocol
	}
	return settings, nil
}

// HistoryLogin returns the login of Kafka Connect and its connectors as Kafka's clients for Java take it in sasl.jaas.config: that of
// their principal with KAFKA_USERS_SECRET, else KAFKA_SASL_USER and its password.
func HistoryLogin(config map[string]string) (string, error) {
	mechanism := config["KAFKA_SASL_MECHANISM"]
	if mechanism == "" {
		return "", errors.New("KAFKA_SASL_MECHANISM is not set: nobody logs in to these brokers")
	}
	users, err := Users(config)
	if err != nil {
		return "", err
	}
	login := users.Login(knative.ConnectPrincipal)
	if login == nil {
		password, err := secret.Read(config, "KAFKA_SASL_PASSWORD")
		if err != nil {
			return "", err
		}
		if config["KAFKA_SASL_USER"] == "" || password == "" {
			return "", fmt.Errorf("set %s, or KAFKA_SASL_USER and KAFKA_SASL_PASSWORD", UsersVariable)
		}
		login = &Login{config["KAFKA_SASL_USER"], password}
	}
	module := "scram.Scram"
	if mechanism == sarama.SASLTypePlaintext {
		module = "plain.Plain"
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace
	return fmt.Sprintf(`org.apache.kafka.common.security.%sLoginModule required username="%s" password="%s";`, module, escape(login.User), escape(login.Password)), nil
}
