// The first process of a pod (`pause`) and of a node (`pause node`): reaps orphans and waits for the signal to end.
//
// A node is started in fresh network, mount and process namespaces. Before it waits it covers the folders that it
// is given (`pause node FOLDER...`), where programs leave things that would outlive the node: so the kernel removes
// them together with it.
package main

import (
	"log"
	"os"
	"os/signal"
	"syscall"
)

// The node is usable when this file exists: it is made last, in a folder that is covered.
const ready = "/run/node-ready"

// Of the node's own network: it routes for its pods, and refuses as often as they ask for what it has no route to.
var settings = map[string]string{"ip_forward": "1", "icmp_ratelimit": "0"}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "node" {
		if err := prepareNode(os.Args[2:]); err != nil {
			log.Fatalf("node: %v", err)
		}
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

func reap() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
			return
		}
	}
}

func prepareNode(folders []string) error {
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return err
	}
	for _, folder := range folders {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", folder, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
			return err
		}
	}
	for setting, value := range settings {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+setting, []byte(value), 0o644); err != nil {
			return err
		}
	}
	file, err := os.Create(ready)
	if err != nil {
		return err
	}
	return file.Close()
}
