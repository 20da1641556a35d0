// Command peer is the other end of the interoperability tests: programs that speak the wire through the packaged
// kcp-go, smux and kcptun, which nobody of this project wrote.
//
//	peer kcpgo  --kcpcat CMD   every case of kcp-go against kcpcat, both directions
//	peer kcptun --kcpcat CMD   the packaged kcptun-server and kcptun-client against kcpcat
//	peer icmp-echo ...         a host behind a kcp-go session that answers pings
//	peer cat ...               kcpcat's command line on kcp-go: the reference taking its own test
//	peer relay ...             a UDP relay that loses packets
//
// The code is built as a GOPATH package against /usr/share/gocode (GO111MODULE=off), so that no module is fetched.
package main

import (
	"fmt"
	"os"
)

var commands = map[string]func(args []string) error{
	"kcpgo":     kcpgoMain,
	"kcptun":    kcptunMain,
	"icmp-echo": icmpEchoMain,
	"cat":       catMain,
	"relay":     relayMain,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peer kcpgo|kcptun|icmp-echo|cat|relay [options]")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "peer %s: %v\n", os.Args[1], err)
		if exit, ok := err.(exitError); ok {
			os.Exit(int(exit))
		}
		os.Exit(1)
	}
}

// exitError leaves with a status of its own.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
