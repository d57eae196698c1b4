// Package chaos is a test of the whole daemon on three real Kafka nodes while
// brokers and members are killed, frozen, terminated and moved.
//
// It runs only when WEIR_TEST_CHAOS says for how long each way of delivery is to be
// tried, such as 2m; kafkactl must have Kafka's jars and Java. "make chaos" runs it.
package chaos
