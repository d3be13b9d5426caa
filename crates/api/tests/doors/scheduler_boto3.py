"""The Scheduler door by boto3, from inside of an instance: who is not the owner may do nothing."""

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError

CONFIG = botocore.config.Config(retries={"total_max_attempts": 1})
client = boto3.client("scheduler", config=CONFIG)
GROUP = "arn:aws:scheduler:us-east-1:000000000000:schedule-group/default"
SCHEDULE = {
    "Name": "s",
    "ScheduleExpression": "rate(1 hour)",
    "FlexibleTimeWindow": {"Mode": "OFF"},
    "Target": {
        "Arn": "arn:aws:lambda:us-east-1:000000000000:function:caller",
        "RoleArn": "arn:aws:iam::000000000000:role/any",
    },
}


def test_instance_may_do_nothing():
    named = {"Name": "s"}
    for call, parameters in (
        (client.create_schedule, SCHEDULE),
        (client.update_schedule, SCHEDULE),
        (client.get_schedule, named),
        (client.delete_schedule, named),
        (client.list_schedules, {}),
        (client.create_schedule_group, named),
        (client.get_schedule_group, named),
        (client.delete_schedule_group, named),
        (client.list_schedule_groups, {}),
        (client.list_tags_for_resource, {"ResourceArn": GROUP}),
        (client.tag_resource, {"ResourceArn": GROUP, "Tags": [{"Key": "a", "Value": "b"}]}),
        (client.untag_resource, {"ResourceArn": GROUP, "TagKeys": ["a"]}),
    ):
        with pytest.raises(ClientError) as info:
            call(**parameters)
        error = info.value.response["Error"]
        assert error["Code"] == "AccessDeniedException", (call, error)
        assert "function:caller" in error["Message"]
