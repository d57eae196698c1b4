// Package chaos is tests of the whole daemon while brokers, members and Redis are
// killed, frozen, terminated and moved.
//
// TestChaos looks at posts on three Kafka nodes of its own. It runs only when
// WEIR_TEST_CHAOS says for how long each way of delivery is to be tried, such as 2m;
// kafkactl must have Kafka's jars and Java. "make chaos" runs it.
//
// TestSoak has a deployment with everything on work at four fifths of what it carries for
// as long as WEIR_TEST_SOAK says, such as 30m, and looks at its memory, too. "make soak"
// runs it.
//
// TestFleet looks at instances that share a topic of many partitions while one is added
// and one is killed: who carries how much, and whether that is what internal/capacity
// predicts. It runs when WEIR_TEST_FLEET says short or long. "make fleet" runs it.
//
// The tests of pushes use the Kafka that WEIR_TEST_KAFKA names and a redis-server
// of their own. scripts/integration runs them.
package chaos
