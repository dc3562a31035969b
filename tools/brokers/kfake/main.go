// A Kafka cluster of franz-go, all nodes in one process, on the given ports of this machine.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

type configs map[string]string

func (c configs) String() string { return "" }

func (c configs) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%q is not key=value", text)
	}
	c[key] = value
	return nil
}

func main() {
	list := flag.String("ports", "", "ports, one for each node, separated by commas")
	dataDir := flag.String("data-dir", "", "where the cluster keeps its state")
	given := configs{}
	flag.Var(given, "config", "key=value of the brokers' configuration; repeatable")
	flag.Parse()

	var ports []int
	for _, text := range strings.Split(*list, ",") {
		port, err := strconv.Atoi(text)
		if err != nil {
			fail(err)
		}
		ports = append(ports, port)
	}
	cluster, err := kfake.NewCluster(
		kfake.Ports(ports...),
		kfake.DataDir(*dataDir),
		kfake.SyncWrites(),
		kfake.BrokerConfigs(given),
		kfake.WithLogger(kfake.BasicLogger(os.Stderr, kfake.LogLevelInfo)),
	)
	if err != nil {
		fail(err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	<-ended
	cluster.Close()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
