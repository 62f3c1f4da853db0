package engine
import ("testing";"context";"derpd/loadgen";"net/netip";"os";"time";"encoding/json")
func TestTry(t *testing.T){
	addr:=netip.MustParseAddrPort(os.Getenv("TRY"))
	w:=loadgen.Workload{Name:"x",Idle:100,Groups:[]loadgen.Group{{Name:"pairs",Senders:10,Receivers:10,Share:1,Arrival:loadgen.Arrival{Kind:loadgen.Poisson},Sizes:[]loadgen.Size{{Bytes:1400,Weight:1}},FramesPerWrite:1}}}
	if os.Getenv("FULL")!="" { w.Groups[0].Share=0 }
	fpw:=1; if os.Getenv("FPW")!="" {fpw=8}; w.Groups[0].FramesPerWrite=fpw
	e,err:=New(loadgen.Job{Targets:[]loadgen.Target{{Addr:addr,Host:"localhost",Plain:os.Getenv("PLAIN")!=""}},Workload:w,Options:loadgen.Options{Ahead:256<<20}})
	if err!=nil{t.Fatal(err)}
	defer e.Close()
	r,err:=e.Ramp(context.Background())
	if err!=nil{t.Fatal(err)}
	b,_:=json.Marshal(r); r.Login=nil; t.Log(len(b),r.Clients,r.Took,r.Failures)
	for range 2 {
	s,err:=e.Step(context.Background(),loadgen.Step{Rate:20000,Warm:500*time.Millisecond,Window:3*time.Second,Drain:3*time.Second,Busy:os.Getenv("BUSY")!="",Ask:true})
	if err!=nil{t.Fatal(err)}
	g:=s.Groups[0]
	t.Logf("due %d sent %d delivered %d p50 %v p99 %v max %v",g.Due,g.Sent,g.Delivered,g.Latency.At(50),g.Latency.At(99),g.Latency.Max())
	t.Logf("books %+v unexplained %d wrong %+v asked %d answered %d",s.Books,s.Books.Unexplained(),s.Wrong,s.Asked,s.Answered)
	t.Logf("idle %.2f busy/packet %.0f ns lag p99 %v cpu %v limited %q fail %v",s.Slack.Idle,s.Slack.BusyNanosPerPacket,s.Slack.Lag.At(99),s.Slack.CPU.Sum(),s.Slack.Limited,s.Failures.Lines())
	}
}
