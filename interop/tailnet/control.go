package tailnet

import (
	"fmt"
	"net"
	"net/http"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
)

// regionID is the region of the relay; 900 to 999 are the users' own.
const regionID = 900

// derpMap is what the control server tells the nodes: one region with one node, the relay.
func derpMap() *tailcfg.DERPMap {
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{regionID: {
		RegionID: regionID, RegionCode: "test", RegionName: "Test",
		Nodes: []*tailcfg.DERPNode{{
			Name: "900a", RegionID: regionID, HostName: relayName, IPv4: relayIP, IPv6: "none",
			InsecureForTests: true, // the certificate is signed by nobody the nodes know
		}},
	}}}
}

// controlReady is what the control server prints when it listens.
const controlReady = "the control server listens"

// ServeControl runs Tailscale's test control server until the process is killed. It admits
// every node and lets all talk to all.
func ServeControl() error {
	l, err := net.Listen("tcp", relayIP+":80")
	if err != nil {
		return err
	}
	fmt.Println(controlReady)
	return http.Serve(l, &testcontrol.Server{
		DERPMap:         derpMap(),
		ExplicitBaseURL: controlURL,
	})
}
