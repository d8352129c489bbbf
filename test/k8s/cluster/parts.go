//go:build linux

package cluster

import (
	_ "embed"
	"os"
	"strings"

	"github.com/evenkeel-go/evenkeel/test/k8s/internal/node"
)

// Configuration files of the parts. fill replaces their upper-case words.
var (
	//go:embed config/containerd.toml
	containerdConfig string
	//go:embed config/cni.conflist
	cniConfig string
	//go:embed config/kubelet.yaml
	kubeletConfig string
	//go:embed config/proxy.yaml
	proxyConfig string
)

// fill replaces the placeholders in text with this run's values.
func (c *Cluster) fill(text string) string {
	return strings.NewReplacer(
		"@DIR@", c.Dir, "@CGROUP@", c.cgroup, "@NODE@", nodeName, "@NODE_IP@", nodeIP,
		"@PODS@", podNet, "@SERVICES@", serviceNet, "@DNS@", dnsService, "@ETCD@", etcdAddress,
		"@PAUSE@", pauseTag,
	).Replace(text)
}

func (c *Cluster) writeConfigs() error {
	if err := os.Mkdir(c.path("etc/cni"), 0o700); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"etc/containerd.toml":     containerdConfig,
		"etc/cni/10-e2e.conflist": cniConfig,
		"etc/kubelet.yaml":        kubeletConfig,
		"etc/proxy.yaml":          proxyConfig,
		// Pods with dnsPolicy Default, which is CoreDNS, have no DNS server to query.
		"etc/resolv.conf": "",
	} {
		if err := os.WriteFile(c.path(name), []byte(c.fill(content)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// commands holds the command line of each part. Flags follow kubeadm, as far as they matter
// for a single node, which elects no leader.
var commands = map[string]string{
	"etcd": `etcd --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn
		--listen-client-urls=http://@ETCD@ --advertise-client-urls=http://@ETCD@
		--listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380
		--initial-cluster=default=http://127.0.0.1:2380`,
	"kube-apiserver": `kube-apiserver --etcd-servers=http://@ETCD@ --secure-port=6443 --bind-address=0.0.0.0
		--advertise-address=@NODE_IP@ --service-cluster-ip-range=@SERVICES@ --authorization-mode=Node,RBAC
		--enable-admission-plugins=NodeRestriction --allow-privileged=true --cert-dir=/run/kube-apiserver
		--client-ca-file=@DIR@/pki/ca.crt
		--tls-cert-file=@DIR@/pki/apiserver.crt --tls-private-key-file=@DIR@/pki/apiserver.key
		--kubelet-client-certificate=@DIR@/pki/apiserver-kubelet.crt
		--kubelet-client-key=@DIR@/pki/apiserver-kubelet.key --kubelet-preferred-address-types=InternalIP
		--service-account-issuer=https://kubernetes.default.svc.cluster.local
		--service-account-key-file=@DIR@/pki/accounts.pub --service-account-signing-key-file=@DIR@/pki/accounts.key`,
	"kube-controller-manager": `kube-controller-manager --kubeconfig=@DIR@/pki/controllers.kubeconfig
		--leader-elect=false --use-service-account-credentials=true --cert-dir=/run/kube-controller-manager
		--root-ca-file=@DIR@/pki/ca.crt --service-account-private-key-file=@DIR@/pki/accounts.key
		--cluster-signing-cert-file=@DIR@/pki/ca.crt --cluster-signing-key-file=@DIR@/pki/ca.key`,
	"kube-scheduler": `kube-scheduler --kubeconfig=@DIR@/pki/scheduler.kubeconfig --leader-elect=false
		--cert-dir=/run/kube-scheduler`,
	"containerd": `containerd --config=@DIR@/etc/containerd.toml`,
	"kubelet": `kubelet --config=@DIR@/etc/kubelet.yaml --kubeconfig=@DIR@/pki/kubelet.kubeconfig
		--hostname-override=@NODE@ --node-ip=@NODE_IP@ --cert-dir=/run/kubelet`,
	"kube-proxy": `kube-proxy --config=@DIR@/etc/proxy.yaml`,
}

func (c *Cluster) programs() map[string]node.Program {
	all := map[string]node.Program{}
	for name, command := range commands {
		all[name] = node.Program{Name: name, Args: strings.Fields(c.fill(command)), Log: c.path("log/" + name + ".log")}
	}
	return all
}
