"""The pod that reads a model's config before any device is asked for; its termination message is its answer."""

from llama_operator.manifests.common import (
    Context,
    container_security,
    image_settings,
    metadata,
    pod_security,
)
from llama_operator.manifests.group import model_path, model_volume
from llama_operator.plan.model import InspectModel
from llama_operator.plan.naming import stages_name
from llama_operator.plan.revision import gateway_image
from llama_operator.ports import Manifest
from llama_serving.config import names

DEADLINE = 600  # seconds from the kubelet's first sight of the pod, so the image's download included


def inspector_pod(context: Context, item: InspectModel) -> Manifest:
    """Pod that looks at the model; placed like a stage, so that a volume bound to it can serve the stages too."""
    placement, path = context.spec.placement, model_path(context.spec.model.source)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(context, item.name, names.COMPONENT_INSPECTOR),
        "spec": {
            "serviceAccountName": stages_name(context.key.name),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            # A volume that hangs must not hang the deployment: the look ends, is shown and repeated.
            "activeDeadlineSeconds": DEADLINE,
            "securityContext": pod_security(),
            "nodeSelector": dict(placement.node_selector),
            "tolerations": [toleration.to_api() for toleration in placement.tolerations],
            **image_settings(context),
            "containers": [
                {
                    "name": "inspector",
                    "image": gateway_image(context.spec, context.settings),
                    "imagePullPolicy": context.spec.images.pull_policy,
                    "args": ["python3", "-m", "llama_serving.weights", "inspect", path],
                    "resources": {
                        "requests": {"cpu": "50m", "memory": "64Mi"},
                        "limits": {"memory": "256Mi"},
                    },
                    "securityContext": container_security(),
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [{"name": "model", "mountPath": names.MODEL_MOUNT, "readOnly": True}],
                }
            ],
            "volumes": [model_volume(context.spec.model.source)],
        },
    }
