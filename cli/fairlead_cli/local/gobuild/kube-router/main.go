// Command kube-router enforces NetworkPolicies: of kube-router only the controller for them. With its router and its
// service proxy it would be 960 packages instead of 580.
package main

import (
	"flag"
	"net/http"
	"sync"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

func main() {
	config := options.NewKubeRouterConfig()
	config.EnableIPv4 = true
	kubeconfig := flag.String("kubeconfig", "", "who asks which API server")
	services := flag.String("service-cluster-ip-range", "", "the addresses of services")
	health := flag.String("health-address", "", "ADDRESS:PORT that answers 200 once policies are being enforced")
	flag.StringVar(&config.HostnameOverride, "hostname-override", "", "the name of the node")
	flag.Parse()
	config.ClusterIPCIDRs = []string{*services}
	klog.Fatal(run(config, *kubeconfig, *health))
}

func run(config *options.KubeRouterConfig, kubeconfig, health string) error {
	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	var lock sync.Mutex
	controller, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &lock, tables, sets)
	if err != nil {
		return err
	}
	never := make(chan struct{})
	factory.Start(never)
	factory.WaitForCacheSync(never)
	if _, err := pods.AddEventHandler(controller.PodEventHandler); err != nil {
		return err
	}
	if _, err := namespaces.AddEventHandler(controller.NamespaceEventHandler); err != nil {
		return err
	}
	if _, err := policies.AddEventHandler(controller.NetworkPolicyEventHandler); err != nil {
		return err
	}
	beats := make(chan *healthcheck.ControllerHeartbeat)
	var running sync.WaitGroup
	running.Add(1)
	go controller.Run(beats, never, &running)
	<-beats // its first pass begins
	go func() {
		for range beats {
		}
	}()
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	return http.ListenAndServe(health, nil)
}
